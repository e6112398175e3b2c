"""The site, built once, and a browser to read it with."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Error, sync_playwright

from book.tools import site as builder
from tests.book import browser as looks


@pytest.fixture(scope="session")
def site() -> Path:
    """Build the site, clean; its own checks run too."""
    return builder.build()


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
