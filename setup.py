"""Packaging of slowfast_ac."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "slowfast_ac/__init__.py").read_text())[1]

# What PySlowFast imports at start-up, whichever of the two it is (see README, "Install").
PYSLOWFAST = ["pandas", "psutil", "scikit-learn", "scipy", "tensorboard"]
ZOO = ["onnx", "onnxruntime", "onnxscript", "safetensors"]
DEV = ["pytest>=8", "pytest-timeout", "pytest-xdist", "ruff==0.17.6", "import-linter", "mypy"]
DEV += ["pandas-stubs", "types-PyYAML", "types-simplejson", "types-tqdm"]

setup(
    name="slowfast_ac",
    version=VERSION,
    description="Attention-consistency SlowFast for PySlowFast and PyTorchVideo",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["slowfast_ac", "slowfast_ac.*"]),
    package_data={
        "slowfast_ac": ["py.typed", "configs/**/*.yaml"],
        "slowfast_ac.evaluation": ["*.json"],
    },
    install_requires=[
        "torch>=2.4",
        "torchvision",
        "pytorchvideo>=0.1.5",
        "fvcore",
        "iopath",
        "simplejson",
        "av>=12",
        "opencv-python",
        "matplotlib",
        "numpy",
        "pillow",
        "tqdm",
    ],
    extras_require={
        "pyslowfast": PYSLOWFAST,
        "zoo": ZOO,
        "all": PYSLOWFAST + ZOO,
        "dev": PYSLOWFAST + ZOO + DEV,
    },
    entry_points={"console_scripts": ["slowfast-ac = slowfast_ac.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "License :: OSI Approved :: Apache Software License",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
