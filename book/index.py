# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # VGG: a reproducibility study
#
# Simonyan and Zisserman's *Very Deep Convolutional Networks for Large-Scale Image Recognition*
# {cite:p}`simonyan2015vgg` showed what depth does to a convolutional network. This book reruns the
# paper's experiments, one question a chapter: each number beside the paper's, each claim with a
# verdict, and each chapter open to be rerun by anyone.

# %% tags=["hide-input"]
import vggrepro

print(f"vggrepro {vggrepro.__version__}")
