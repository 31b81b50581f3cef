"""Beside the `tabpo` program: its runs as data frames, and its loss in TRL.

`read_run` needs pandas (`pip install tabpo[pandas]`); `TabPOTrainer` needs PyTorch and TRL (`pip install tabpo[trl]`).
Neither is imported before it is used.
"""

__all__ = ["Run", "TabPOConfig", "TabPOTrainer", "read_run"]


def __getattr__(name):
    if name in ("Run", "read_run"):
        from tabpo import runs

        return getattr(runs, name)
    if name in ("TabPOConfig", "TabPOTrainer"):
        from tabpo import trainer

        return getattr(trainer, name)
    raise AttributeError(f"module 'tabpo' has no attribute {name!r}")
