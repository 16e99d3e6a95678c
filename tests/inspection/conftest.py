from tests.data.conftest import folder_root, voc_root

__all__ = ["folder_root", "voc_root"]
