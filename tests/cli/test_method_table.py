import wsss_zoo
from wsss_zoo.arguments.checks import subclasses
from wsss_zoo.cli.method_table import read_methods
from wsss_zoo.methods import BaseMethod

SOURCE = """
class BaseMethod(Module):
    supervision: ClassVar[str] = "mask"

class SemiMethod(methods.BaseMethod):
    supervision: ClassVar[str] = "semi"

    @abstractmethod
    def training_step(self): ...
"""
LEAF = '''
class Teacher(SemiMethod, Generic[T]):
    """Learn from ``image``.

    More.
    """
    def training_step(self):
        return 0

class Branch(Teacher):
    """Learn otherwise."""
    supervision = "mask"
'''


def test_source_says_what_the_classes_say():
    methods = subclasses(BaseMethod)
    own = {name: m for name, m in methods.items() if m.__module__.startswith("wsss_zoo.")}
    found = read_methods()
    assert list(found) == list(own)
    for name, method in own.items():
        assert found[name].supervision == method.supervision
        assert found[name].summary == method.__doc__.strip().splitlines()[0].replace("``", "")


def test_methods_are_listed_by_dir():
    assert set(read_methods()) <= set(dir(wsss_zoo))
    assert set(read_methods()) <= set(dir(wsss_zoo.methods))


def test_methods_in_sub_folders(tmp_path):
    (tmp_path / "semi" / "teachers").mkdir(parents=True)
    (tmp_path / "base.py").write_text(SOURCE)
    (tmp_path / "semi" / "teachers" / "teacher.py").write_text(LEAF)
    found = read_methods(tmp_path)
    assert list(found) == ["Branch", "Teacher"]
    assert (found["Teacher"].supervision, found["Branch"].supervision) == ("semi", "mask")
    assert found["Teacher"].labels_needed == "a few masks, many images"
    assert found["Teacher"].summary == "Learn from image."
