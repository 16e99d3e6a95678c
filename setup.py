"""Build the wheel with the YAML files of ``experiments/``, where recipes are written."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SOURCE, PLACE = Path("experiments"), Path("wsss_zoo", "recipes", "shipped")


class BuildWithRecipes(build_py):
    """Copy the recipes into the package; an editable installation reads them where they are."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, PLACE)
        # A build folder that is used again may have recipes that are no more.
        shutil.rmtree(target, ignore_errors=True)
        for path in SOURCE.rglob("*.yaml"):
            place = target / path.relative_to(SOURCE)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


setup(cmdclass={"build_py": BuildWithRecipes})
