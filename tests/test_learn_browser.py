"""The course's page in a real browser: `make test-browser`. Set AXE_CORE to axe.min.js and its rules are asked too."""

import json
import os
import shutil
from pathlib import Path

import pytest

import made_runs
from finewright import learn_web
from finewright.course import Course
from finewright.lessons import Desk

pytestmark = pytest.mark.browser
SIZES = {"desk": {"width": 1100, "height": 900}, "phone": {"width": 360, "height": 740}}
RULES = "axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify(r.violations.map(v => [v.id, v.impact])))"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser")
    made_runs.several(root / "runs")
    desk = Desk(work=root / "learn", runs=root / "runs")
    desk.start(desk.course.lesson(7))
    one = learn_web.Server(desk)
    one.start()
    yield one
    one.stop()


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids="-".join)
def page(request, browser, server):
    """A page that has come in, and must leave no word in the console."""
    size, scheme = request.param
    context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)
    opened = context.new_page()
    said = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("response", lambda reply: said.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
    opened.goto(server.address)
    opened.wait_for_url(f"http://127.0.0.1:{server.port}/")
    yield opened
    context.close()
    assert said == []


def look(page, path, server):
    page.goto(f"http://127.0.0.1:{server.port}{path}")
    assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), path
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)"), path
    if axe := os.environ.get("AXE_CORE"):
        session = page.context.new_cdp_session(page)  # past the page's own policy, which lets no foreign script in
        session.send("Runtime.evaluate", {"expression": Path(axe).read_text()})
        asked = {"expression": RULES, "awaitPromise": True, "returnByValue": True}
        found = json.loads(session.send("Runtime.evaluate", asked)["result"]["value"])
        assert [rule for rule, impact in found if impact in ("serious", "critical", "moderate")] == [], path


def test_every_page(page, server):
    for path in ("/", "/quiz", "/progress", *(f"/lessons/{lesson.name}" for lesson in Course().lessons)):
        look(page, path, server)


def test_by_keyboard_from_the_list_through_a_round(page, server):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto(f"http://127.0.0.1:{server.port}/quiz")
    page.focus("button.main")
    page.keyboard.press("Enter")
    page.wait_for_selector("fieldset")
    page.focus("input[type=radio]")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".whys")
    assert page.evaluate("document.activeElement.id") == "result"
    assert page.locator(".whys li").count() >= 3


def test_a_check_says_that_it_runs_and_where_the_result_is(page, server):
    page.goto(f"http://127.0.0.1:{server.port}/lessons/07_reading_a_comparison")
    page.evaluate(
        "new MutationObserver(() => sessionStorage.setItem('busy', document.getElementById('busy').textContent))"
        ".observe(document.getElementById('busy'), {childList: true})"
    )
    page.click("form[data-busy] button")
    page.wait_for_selector("text=What the check found", timeout=120_000)
    assert page.evaluate("sessionStorage.getItem('busy')") == "Checking. This takes about ten seconds."
    assert page.evaluate("document.activeElement.id") == "result"
