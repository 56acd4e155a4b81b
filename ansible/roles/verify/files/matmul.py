"""Multiply two matrices with PyTorch where it is asked for, and compare: ``matmul.py cpu|cuda``."""

from __future__ import annotations

import sys

# TF32 keeps 10 bits of a mantissa.
TOLERANCE = 1e-2


def main(device: str) -> None:
    """Print what was seen; exits 1 with a sentence."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} (CUDA {torch.version.cuda}): torch.cuda.is_available() is False")
    torch.manual_seed(0)
    left, right = torch.rand(256, 512, device=device), torch.rand(512, 128, device=device)
    found = (left @ right).cpu()
    expected = left.cpu().double() @ right.cpu().double()
    worst = float((found.double() - expected).abs().max() / expected.abs().max())
    if not worst < TOLERANCE:
        sys.exit(f"torch {torch.__version__} multiplies wrongly on {device}: relative error {worst:.1e}")
    where = torch.cuda.get_device_name(0) if device == "cuda" else "CPU"
    sys.stdout.write(f"torch {torch.__version__} on {where}: a 256x512x128 product, relative error {worst:.0e}\n")


if __name__ == "__main__":
    main(sys.argv[1])
