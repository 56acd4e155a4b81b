"""The report: one self-contained page rendered from a run directory (see page.build). It computes no figure."""
