"""No call in the package reads a file as code, or imports what a file names."""

import ast
from pathlib import Path

import pytest

from tests.each import each
from wsss_zoo.report import runs

PACKAGE = Path(runs.__file__).parents[1]
# Where a name decides what is imported, and why that is the user's own or the package's choice.
IMPORTS = {
    "__init__.py": "the package's own names, as they are asked for",
    "arguments/command_parser.py": "the class whose options the user asks for",
    "arguments/checks.py": "the method that LightningCLI is about to instantiate",
    "arguments/given.py": "the method of a recipe that the user runs",
    "cli/main.py": "the functions of the package's own commands",
    "data/__init__.py": "the data modules of the package, as they are asked for",
    "data/sets/coco_masks.py": "pycocotools",
    "deploy/saliency_network.py": "onnxruntime",
    "deploy/torch_exporters.py": "onnx and onnxruntime",
    "files/images/stored.py": "pillow_heif",
    "functional/regions/superpixels.py": "fast_slic",
    "runs/data.py": "the data module that the user names on the command line or in a recipe",
    "runs/checkpoints/segmenter.py": "the method that the user names with --model",
    "runs/wandb.py": "the logger that LightningCLI has checked",
}
# What a file has just written, it reads to compare.
WRITTEN_BEFORE = {"deploy/torch_exporters.py": ["torch.export.load"]}
_IMPORTERS = {"import_module", "resolve_name", "__import__", "import_object", "reload"}
_FORBIDDEN_MODULES = {"joblib", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle", "hub"}
_STEPS = {"fit", "validate", "test", "predict"}


def complaints(source: str) -> list[str]:
    """Calls in a source that are not safe, with their lines."""
    return [
        f"line {node.lineno}: {problem}"
        for node in ast.walk(ast.parse(source))
        for problem in _problems(node)
    ]


def _problems(node: ast.AST):
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = {part for alias in node.names for part in alias.name.split(".")}
        modules = names | set((getattr(node, "module", None) or "").split("."))
        if modules & _FORBIDDEN_MODULES:
            yield f"imports {sorted(modules & _FORBIDDEN_MODULES)}"
        hidden = ("load" in names and modules & {"torch", "numpy"}) or modules & {"pickle", "yaml"}
        if isinstance(node, ast.ImportFrom) and hidden:
            yield f"takes {sorted(names)} out of {node.module}, where this test cannot see it"
    name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
    if name.startswith(("pickle.", "torch.hub")) and name != "pickle.UnpicklingError":
        yield name
    if isinstance(node, ast.Call):
        yield from _problems_of_call(node)


def _problems_of_call(call: ast.Call):
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    options = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
        yield "np.load without allow_pickle=False"
    if name.startswith("yaml.") and not last.startswith("safe"):
        known = last == "load" and ast.unparse(call.args[1]) == "_LOADER"
        if last.endswith(("load", "load_all")) and not known:
            yield f"{name} with a loader that may build objects"
    if last == "load_from_checkpoint" or name in ("torch.jit.load", "torch.export.load"):
        yield name
    if name in ("eval", "exec", "compile", "os.system", "os.popen"):
        yield name
    if options.get("shell") == "True":
        yield f"{name} in a shell"
    of_trainer = name.rpartition(".")[0].endswith("trainer") and last in _STEPS
    # ``**kwargs`` has no name: a checkpoint may be in it.
    if of_trainer and {"ckpt_path", None} & set(options) and options.get("weights_only") != "True":
        yield f"{name} without weights_only=True"


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def test_no_call_reads_a_file_as_code():
    found = {
        path.relative_to(PACKAGE).as_posix(): complaints(path.read_text()) for path in sources()
    }
    unsafe = {path: [*map(_without_line, told)] for path, told in found.items() if told}
    assert unsafe == WRITTEN_BEFORE, {path: found[path] for path in unsafe}


def _without_line(complaint: str) -> str:
    return complaint.partition(": ")[2]


@each(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=option)",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "pickle.loads(data)",
        "import joblib",
        "from torch import load",
        "from pickle import loads",
        "torch.hub.load('a', 'b')",
        "from torch import hub",
        "yaml.load(text, yaml.UnsafeLoader)",
        "yaml.full_load(text)",
        "yaml.unsafe_load(text)",
        "CAM.load_from_checkpoint(path)",
        "self.trainer.fit(ckpt_path=path)",
        "trainer.predict(model, weights_only=False, **kwargs)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_what_is_not_safe_is_found(source):
    assert complaints(source)


def test_loader_of_configurations_builds_no_objects():
    with pytest.raises(runs.yaml.constructor.ConstructorError):
        runs.yaml.load("!!python/object/apply:os.getcwd []", runs._LOADER)


def test_imports_by_name_are_the_known_ones():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node).rpartition(".")[2] in _IMPORTERS
    }
    assert found == set(IMPORTS)
