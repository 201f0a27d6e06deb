"""The peer: PyTorch's DCGAN example, written anew from its description.

The networks are those of Radford et al. 2015 (arXiv 1511.06434). The order of work is D on real
images, D on fakes, D's update, then G's through the new D; one forward pass of G serves both.
"""

import functools
import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.utils.flop_counter import FlopCounterMode

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Game:
    """Both players and their step: as users of the example run it, or `tuned`.

    Tuned is what PyTorch offers for speed without changing the result: channels last, compiled
    networks, a fused optimizer, no weight gradients of D where only G learns; on CUDA also TF32 in
    matrix products and a CUDA graph of the whole step. `dtype` is autocast's, for both.
    """

    def __init__(
        self,
        real: np.ndarray,
        z_dim: int,
        width: int,
        tuned: bool,
        dtype: str = "float32",
        compiled: bool = True,
    ):
        """Builds the players for these `real` images; `compiled` only where `tuned`."""
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        self.tuned = tuned
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        layout = torch.channels_last if tuned else torch.contiguous_format
        self.generator = build_generator(z_dim, width).to(self.device, memory_format=layout)
        self.discriminator = build_discriminator(width).to(self.device, memory_format=layout)
        self.g_optimizer = self.adam(self.generator)
        self.d_optimizer = self.adam(self.discriminator)
        self.real = torch.from_numpy(real).to(self.device).contiguous(memory_format=layout)
        self.z_shape = (len(real), z_dim, 1, 1)
        self.autocast = functools.partial(
            torch.autocast,
            self.device.type,
            DTYPES[dtype],
            enabled=dtype != "float32",
            cache_enabled=False,  # Each weight is cast once anyway, and a graph must not skip it.
        )
        if tuned and compiled:
            # Not `net.compile()`, which left these as they were, without a word (torch 2.13).
            self.generator = torch.compile(self.generator, fullgraph=True)
            self.discriminator = torch.compile(self.discriminator, fullgraph=True)
        if tuned and compiled and self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            self.step = capture_cuda_graph(self.step)

    def adam(self, net: nn.Module) -> torch.optim.Adam:
        """Returns Adam with DCGAN's settings."""
        speed = dict(fused=True, capturable=self.device.type == "cuda") if self.tuned else {}
        return torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999), **speed)

    def apply(self, net: nn.Module, x: Tensor) -> Tensor:
        """Applies a network in autocast's type."""
        with self.autocast():
            return net(x).float()

    def step(self) -> dict[str, Tensor]:
        """Updates each player once."""
        self.discriminator.zero_grad()
        real_logit = self.apply(self.discriminator, self.real)
        real_loss = cross_entropy(real_logit, torch.ones_like(real_logit))
        real_loss.backward()
        fake = self.apply(self.generator, torch.randn(self.z_shape, device=self.device))
        fake_logit = self.apply(self.discriminator, fake.detach())
        fake_loss = cross_entropy(fake_logit, torch.zeros_like(fake_logit))
        fake_loss.backward()
        self.d_optimizer.step()

        self.generator.zero_grad()
        self.discriminator.requires_grad_(not self.tuned)
        logit = self.apply(self.discriminator, fake)
        g_loss = cross_entropy(logit, torch.ones_like(logit))
        g_loss.backward()
        self.discriminator.requires_grad_(True)
        self.g_optimizer.step()
        return {
            "d_loss": real_loss + fake_loss,
            "g_loss": g_loss,
            "real": real_logit.sigmoid().mean(),
            "fake_before": fake_logit.sigmoid().mean(),
            "fake_after": logit.sigmoid().mean(),
        }

    def run(self, steps: int) -> int:
        """Does so many steps, waits for the last one, and returns their number."""
        for _ in range(steps):
            metrics = self.step()
            if not self.tuned:  # The example prints these at each step, so it waits for each.
                metrics = {name: value.item() for name, value in metrics.items()}
        self.wait()
        return steps

    def wait(self) -> None:
        """Waits until the device has done all it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def device_memory(self) -> int | None:
        """Returns the most bytes that were in use on an accelerator; None on CPU."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None

    def yardsticks(
        self, side: int, dtype: str, size: int
    ) -> tuple[Callable[[], None], Callable[[], None]]:
        """Makes two calls: a product of matrices [side, side], and adding 1 to `size` float32."""
        a = torch.full((side, side), 0.01, dtype=DTYPES[dtype], device=self.device)
        x = torch.zeros(size, device=self.device)

        def multiply() -> None:
            torch.mm(a, a)
            self.wait()

        def touch() -> None:
            x.add_(1)
            self.wait()

        return multiply, touch


def count_flops(z_dim: int, width: int, tuned: bool) -> int:
    """Counts the FLOPs of a step for one image of its batch, as PyTorch does."""
    real = np.zeros((2, 3, 64, 64), np.float32)
    game = Game(real, z_dim, width, tuned, compiled=False)  # A compiled network hides its work.
    with FlopCounterMode(display=False) as counter:
        game.step()
    return counter.get_total_flops() // len(real)


def capture_cuda_graph(step: Callable[[], object]) -> Callable[[], None]:
    """Captures the whole step as one CUDA graph, as PyTorch's manual does it.

    `torch.compile(mode="reduce-overhead")` makes one of each network, and would use the memory of
    G's fakes again before its update: D is called three times in between.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # Compiling, choosing algorithms, Adam's state: none can be captured.
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def build_generator(z_dim: int, width: int) -> nn.Sequential:
    """Returns a network from latents [b, z_dim, 1, 1] to images [b, 3, 64, 64] in [-1, 1]."""
    layers: list[nn.Module] = []
    channels = [z_dim, 8 * width, 4 * width, 2 * width, width]
    for i, (before, after) in enumerate(itertools.pairwise(channels)):
        stride, padding = (2, 1) if i else (1, 0)
        layers.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False))
        layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    layers += [nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers).apply(init_weights)


def build_discriminator(width: int) -> nn.Sequential:
    """Returns a network from images [b, 3, 64, 64] to logits [b, 1, 1, 1]."""
    layers: list[nn.Module] = []
    channels = [3, width, 2 * width, 4 * width, 8 * width]
    for i, (before, after) in enumerate(itertools.pairwise(channels)):
        layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(after)] if i else []  # None at the image.
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    layers.append(nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False))
    return nn.Sequential(*layers).apply(init_weights)


def init_weights(layer: nn.Module) -> None:
    """Draws weights as Radford et al. 2015, section 4; the scale of batch norm as the example."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
