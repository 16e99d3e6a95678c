"""Compilation of networks for training steps."""

import warnings
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn


class CompiledTraining(Callback):
    """Compiles the networks of a method by torch.compile, for its training steps alone.

    Compiled, in place, are the method's own modules and their children, whichever a training step
    calls; losses run as they are, and names in a checkpoint do not change. Validation, prediction
    and the first fill of an ensemble are not compiled: their images have too many sizes. A second
    size in training, or a smaller last batch, is compiled once more, for all further ones. Dropout
    draws other masks than without, where the backend has generators of its own.

    Args:
        backend: Backend of torch.compile; "inductor" needs a C++ compiler or, for a GPU, Triton.

    Raises:
        ValueError: In training, if the method has no network.
    """

    def __init__(self, backend: str = "inductor") -> None:
        super().__init__()
        self.backend = backend
        self._parts: list[nn.Module] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Mark each module to be compiled at its first call."""
        if stage != "fit":
            return
        if next(pl_module.parameters(), None) is None:
            raise ValueError(
                f"compile is on, but {type(pl_module).__name__} with these options has no network "
                "that lasts longer than an image; set compile to false"
            )
        self._parts = [
            part for module in pl_module.children() for part in (module, *module.children())
        ]
        for part in self._parts:
            part.compile(backend=self.backend)
        torch.compiler.set_stance("force_eager")
        # Torch's tracer asks features for a gradient when a part is called on its own.
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Run the compiled modules from here on."""
        torch.compiler.set_stance("default")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Run the original modules from here on."""
        torch.compiler.set_stance("force_eager")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Undo the compilation."""
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Undo the compilation."""
        self._release()

    def _release(self) -> None:
        if self._parts:
            torch.compiler.set_stance("default")
        for part in self._parts:
            part._compiled_call_impl = None
        self._parts = []
