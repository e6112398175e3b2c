"""The site, built once, and a browser to read it with."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Error, sync_playwright

from book.tools import site as builder
from tests.book import browser as looks


def built_once(shared: Path, build: Callable[[], Path]) -> Path:
    """Build in the process that comes first; the others wait for it, and find its site, or its failure.

    Args:
        shared: a folder that all processes of one test run share, and no other run.
        build: makes the site and returns its folder.

    Raises:
        SiteError: the build failed, here or in another process.
    """
    outcome = shared / "site.json"
    with FileLock(shared / "site.lock"):
        if not outcome.exists():
            try:
                found = {"site": str(build())}
            except Exception as error:
                found = {"failure": f"{type(error).__name__}: {error}"}
            outcome.write_text(json.dumps(found))
    found = json.loads(outcome.read_text())
    if "failure" in found:
        raise builder.SiteError(found["failure"])
    return Path(found["site"])


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id) -> Path:
    """Build the site, clean, once for all workers of pytest-xdist; its own checks run too."""
    own = tmp_path_factory.getbasetemp()
    return built_once(own if worker_id == "master" else own.parent, builder.build)


@pytest.fixture(scope="session")
def address(site):
    with looks.served(site) as base:
        yield base


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        try:
            browser = looks.launch(playwright)
        except Error as error:
            reason = error.message.splitlines()[0]
            message = f"no browser: install Debian's chromium, or run `playwright install chromium` ({reason})"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport=looks.DESKTOP, color_scheme="light", reduced_motion="reduce")
    yield context.new_page()
    context.close()
