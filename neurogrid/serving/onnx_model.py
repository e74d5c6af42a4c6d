"""A forecaster as an ONNX file, for runtimes that know nothing of torch."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch.export import Dim

from neurogrid.errors import RunError
from neurogrid.randomness import generator
from neurogrid.workloads.meters.models import Forecaster

INPUTS = ("history", "known")
OUTPUTS = ("forecast", "surge_logits")
_BATCH = 2
"""With one window the exporter takes the batch for a constant."""
_CHECKED_WINDOWS = 16
TOLERANCE = 1e-5


def to_onnx(model: Forecaster) -> bytes:
    """The model as ONNX: inputs and outputs by the names above, with any number of windows.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    import onnx  # noqa: PLC0415 - an extra of its own
    import onnxscript  # noqa: F401, PLC0415 - the exporter needs it, and says so less plainly

    batch = Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            model.eval(),
            _example(model, _BATCH),
            dynamo=True,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=({0: batch}, {0: batch}),
            verbose=False,
        )
    if program is None:
        raise RunError("torch's exporter gave no ONNX model", fix="look for a message of torch above")
    made = program.model_proto
    # The exporter notes from which line of which file each node comes: that is of this machine, and nobody's business.
    nodes = [node for part in (made.graph, *made.functions) for node in part.node]
    values = (*made.graph.input, *made.graph.output, *made.graph.value_info, *made.graph.initializer)
    for part in (made, made.graph, *made.functions, *nodes, *values):
        part.ClearField("metadata_props")
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


def refuse_unlike(content: bytes, model: Forecaster) -> bool:
    """Whether the file was compared with the model, on windows that are made up: where onnxruntime is installed.

    Raises:
        RunError: the two give forecasts that differ.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - nothing else needs it
    except ModuleNotFoundError:
        return False
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    for windows in (1, _CHECKED_WINDOWS):
        inputs = _example(model, windows)
        with torch.inference_mode():
            wanted = model.eval()(*inputs)
        found = session.run(list(OUTPUTS), {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)})
        apart = max(float(np.abs(one - other.numpy()).max()) for one, other in zip(found, wanted, strict=True))
        if not apart <= TOLERANCE:
            raise RunError(
                "the ONNX model forecasts something else than the run's own",
                found=f"up to {apart:.2g} apart, at most {TOLERANCE:g} is right",
                fix="the run's model has an operation that the exporter does not know: `neurogrid forecast` uses none "
                "of it",
            )
    return True


def _example(model: Forecaster, windows: int) -> tuple[torch.Tensor, torch.Tensor]:
    shape, random = model.shape, generator(0, "export example", windows)
    history = random.normal(size=(windows, shape.history_slots, shape.features))
    known = random.normal(size=(windows, shape.horizon_slots, shape.known))
    return torch.from_numpy(history.astype(np.float32)), torch.from_numpy(known.astype(np.float32))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's progress, its warnings and its notes about packages that it does not need to itself."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
