"""Photos as arrays: where they come from, how they are decoded, cached and held out.

Part of the thin library: it knows no study, no record and no claim. It needs torch only where
torchvision reads or fetches a set.
It may import only what stands directly in `vggrepro/` (`files`).
"""

from vggrepro.data.images import ImageSet, Photos, PixelStatistics, load

__all__ = ["ImageSet", "Photos", "PixelStatistics", "load"]
