"""Fixtures of a small CelebA, made by the tests themselves."""

import socket

import numpy as np
import pytest
from helpers.small_celeba import LABELS, PARTITION, picture, write_celeba


@pytest.fixture
def make_celeba(tmp_path):
    """Writes the data set into a new folder; see `write_celeba`."""
    return lambda name="celeba", **options: write_celeba(tmp_path / name, **options)


@pytest.fixture
def jpeg():
    """Encodes picture `number` of `height` x `width`; see `picture`."""
    return picture


@pytest.fixture
def labels():
    """Attributes [12, 40] and partition [12] of that data set."""
    return LABELS, np.array(PARTITION)


@pytest.fixture
def no_network(monkeypatch):
    """Fails a test that asks for anything on the network."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
