"""Whether check.py sees what is wrong."""

import unittest
from unittest import mock

import check
from check import Block, Page


def block(language, text, **marks):
    return Block("docs/page.md", 1, language, text, {name.replace("_", " "): said for name, said in marks.items()})


class Blocks(unittest.TestCase):
    def assert_wrong(self, language, text, said, **marks):
        _, faults = check.wrong(block(language, text, **marks))
        self.assertEqual(len(faults), 1, faults)
        self.assertIn(said, faults[0])

    def assert_right(self, language, text, **marks):
        self.assertEqual(check.wrong(block(language, text, **marks))[1], [])

    def test_settings_that_nobody_reads(self):
        self.assert_right("env", "BUDGET_PERIOD=day\n")
        self.assert_wrong("env", "BUDGET_PERIODS=day\n", "BUDGET_PERIODS is no setting")
        self.assert_wrong("sh", "MODEL_NAMES=a\nMODEL_URL=b\n", "MODEL_NAMES is no setting")
        self.assert_wrong("json", '{"EDIT_STORY": "kept"}', "EDIT_STORY is no setting", settings="")

    def test_shell_that_cannot_be_read(self):
        self.assert_right("sh", "curl x\n")
        self.assert_wrong("sh", "curl 'x\n", "unexpected EOF")

    def test_json_that_the_contract_does_not_have(self):
        notice = '{"v": 1, "notice": {"userId": "a", "taskId": "t", "type": "%s", "content": "c"}}'
        self.assert_right("json", notice % "INFO", schema="asyncapi notice")
        self.assert_wrong("json", notice % "INFOS", "INFOS", schema="asyncapi notice")
        event = '{"type": "chat.deleted", "chatId": "x", "data": {}}'
        self.assert_wrong("json", event.replace("deleted", "gone"), "", schema="openapi Event")
        self.assert_wrong("json", "{}", "say by which schema")
        self.assert_wrong("json", "{}", "there is no schema", schema="openapi Nothings")
        self.assert_wrong("json", "{", "this is no JSON", not_checked="a draft")

    def test_languages_that_nothing_checks(self):
        self.assert_wrong("cobol", "STOP RUN.\n", "is checked by nothing")
        self.assert_right("cobol", "STOP RUN.\n", not_checked="history")


class Links(unittest.TestCase):
    def faults(self, prose):
        with mock.patch.object(check, "pages", lambda: {"README.md": Page("README.md", prose, [])}):
            return list(check.broken_links())

    def test_links_that_lead_nowhere(self):
        self.assertEqual(self.faults("# A b\n[a](#a-b) [x](https://example.com) `[y](nowhere)` [z](Cargo.toml)"), [])
        for link, said in [
            ("[a](nowhere.md)", "leads nowhere"),
            ("[a](/README.md)", "is not relative"),
            ("[a](../../etc)", "lead"),
            ("[a](#c)", "no such heading"),
            ("[a](README.md#c)", "no such heading"),
        ]:
            faults = self.faults(f"# A b\n{link}")
            self.assertEqual(len(faults), 1, link)
            self.assertIn(said, faults[0])

    def test_anchors_as_github_makes_them(self):
        self.assertEqual(check.slug_of("What's `here`, and [there](x.md)?"), "whats-here-and-there")
        page = Page("README.md", "# A\n## A\n", [])
        self.assertEqual(page.anchors, {"a", "a-1"})


class Tables(unittest.TestCase):
    def test_what_is_not_in_a_table_or_only_there(self):
        faults = list(check.compared("page", {"a", "b"}, {"b", "c"}))
        self.assertEqual(faults, ["page: a is documented, and not there", "page: c is not documented"])

    def test_defaults_and_statuses_that_are_others(self):
        self.assertEqual([*check.wrong_defaults(), *check.wrong_statuses()], [])
        self.assertGreater(len(check.defaults()), 20)
        config = Page("docs/reference/configuration.md", "|---|---|---|\n| `REPLY_ATTEMPTS` | tries | 4 |\n", [])
        errors = Page("docs/reference/errors.md", "|---|---|---|---|\n| `blocked` | 404 | no | x |\n", [])
        with mock.patch.object(check, "pages", lambda: {page.path: page for page in (config, errors)}):
            self.assertEqual(len(list(check.wrong_defaults())), 1)
            self.assertEqual(len(list(check.wrong_statuses())), 1)

    def test_the_settings_that_sources_read(self):
        settings = check.settings()
        self.assertGreater(len(settings), 80)
        for name in ["DATABASE_URL", "MODEL_VISION", "JWT_ROLE_CLAIM", "RATE_LIMIT_SEND", "SYSTEM_PROMPT_POST", "PUSHER_SECRET"]:
            self.assertIn(name, settings)


if __name__ == "__main__":
    unittest.main()
