"""The picture of the crates in ARCHITECTURE.md is that of cargo."""

import json
import re
import subprocess
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Which nothing that is deployed uses.
NOT_DEPLOYED = {"tests", "xtask"}


def short(name):
    return name.removeprefix("backtalk-")


def used():
    """Each crate, and those of ours that it uses outside tests."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"]
    packages = json.loads(subprocess.check_output(command, cwd=REPOSITORY))["packages"]
    ours = {package["name"] for package in packages}
    return {
        short(package["name"]): {short(one["name"]) for one in package["dependencies"] if one["name"] in ours and one["kind"] is None}
        for package in packages
        if package["name"] not in NOT_DEPLOYED
    }


class Crates(unittest.TestCase):
    def test_the_picture_is_that_of_cargo(self):
        text = (REPOSITORY / "ARCHITECTURE.md").read_text()
        block = re.search(r"```text\n(\w+:.*?)```", text, re.DOTALL)[1]
        told = {line.partition(":")[0]: set(line.partition(":")[2].split()) for line in block.splitlines()}
        self.assertEqual(told, used())

    def test_only_the_store_knows_sql_and_agents_need_neither_it_nor_lambda(self):
        for manifest in REPOSITORY.glob("shared/*/Cargo.toml"):
            text = manifest.read_text().partition("[dev-dependencies]")[0]
            name = manifest.parent.name
            self.assertEqual("sqlx" in text, name == "store", name)
            if name in {"notices", "domain", "foundation"}:
                self.assertNotIn("lambda", text, name)


if __name__ == "__main__":
    unittest.main()
