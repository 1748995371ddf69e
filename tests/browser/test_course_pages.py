"""The course's page in a real browser; CONTRIBUTING says what is needed for it."""

import json

import pytest

from finewright.learn.course import Course
from finewright.learn.web import site
from finewright.learn.workspace import Workspace
from support import chromium, made_runs

pytestmark = pytest.mark.browser
SIZES = {"desk": {"width": 1100, "height": 900}, "phone": {"width": 360, "height": 740}}
RULES = "axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify(r.violations.map(v => [v.id, v.impact])))"


@pytest.fixture(scope="module")
def browser():
    with chromium.opened() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser")
    made_runs.write_runs(root / "runs")
    desk = Workspace(work=root / "learn", runs=root / "runs")
    desk.start(desk.course.lesson(7))
    one = site.create_server(desk)
    one.learner = desk
    one.start()
    yield one
    one.stop()


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids="-".join)
def page(request, browser, server):
    """A page that has come in, and must leave no word in the console."""
    size, scheme = request.param
    context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    said = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("response", lambda reply: said.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
    opened.goto(server.address)
    opened.wait_for_url(f"http://127.0.0.1:{server.port}/")
    yield opened
    context.close()
    assert said == []


def url(server, path):
    return f"http://127.0.0.1:{server.port}{path}"


def check_page(page, path):
    """Nothing is wider than the window and every picture is there."""
    assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), path
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)"), path


def violations(page, axe):
    """What axe finds on the page as it stands, past the page's own policy, which lets no foreign script in."""
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": axe})
    asked = {"expression": RULES, "awaitPromise": True, "returnByValue": True}
    found = json.loads(session.send("Runtime.evaluate", asked)["result"]["value"])
    return [rule for rule, impact in found if impact in ("serious", "critical", "moderate")]


PATHS = ("/", "/quiz", "/progress", *(f"/lessons/{lesson.name}" for lesson in Course().lessons))
SEVEN = "/lessons/07_reading_a_comparison"


def test_every_page(page, server):
    for path in PATHS:
        page.goto(url(server, path))
        check_page(page, path)


def test_accessibility_of_every_page(page, server):
    axe = chromium.axe_script()
    for path in PATHS:
        page.goto(url(server, path))
        assert violations(page, axe) == [], path


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def worked_on(page, server):
    """The states of a page that a learner brings about, one after the other, by name."""
    page.goto(url(server, SEVEN))
    press(page, "Check")
    page.wait_for_selector("text=What the check found", timeout=120_000)
    press(page, "A hint")
    page.wait_for_selector("text=Hint ")
    yield "a failed check with a hint"
    press(page, "Give up and show the solution")
    page.wait_for_selector("text=One way to write it")
    yield "an open solution"
    (server.learner.progress.path).write_text("{")
    page.goto(url(server, SEVEN))
    page.wait_for_selector("[role=alert]")
    yield "a note about what is wrong"
    yield from a_round(page, server)


def a_round(page, server):
    """Both kinds of answers: what is right is looked up in the course."""
    right = {one.question: one.right.text for one in server.learner.course.lesson(6).questions}
    for stop_request in (True, False):
        page.goto(url(server, "/lessons/06_memory"))
        press(page, "Questions on this lesson")
        while (question := page.wait_for_selector("legend").inner_text()) not in right:
            page.check("input[name=choice] >> nth=0")
            press(page, "Answer")
            press(page, "Next question")
        yield "a question"
        options = page.locator("label.option")
        fitting = [
            place for place in range(options.count()) if (options.nth(place).inner_text() == right[question]) == stop_request
        ]
        options.nth(fitting[0]).click()
        press(page, "Answer")
        page.wait_for_selector("p.says.right" if stop_request else "p.says:not(.right)")
        yield "an answer that is right" if stop_request else "an answer that is wrong"


def test_every_state_of_a_page(page, server):
    seen = [state for state in worked_on(page, server) if check_page(page, state) is None]
    assert len(seen) == 7


def test_accessibility_of_every_state(page, server):
    axe = chromium.axe_script()
    for state in worked_on(page, server):
        assert violations(page, axe) == [], state


def test_by_keyboard_from_the_list_through_a_round(page, server):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto(url(server, "/quiz"))
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
    page.goto(url(server, SEVEN))
    page.evaluate(
        "new MutationObserver(() => sessionStorage.setItem('busy', document.getElementById('busy').textContent))"
        ".observe(document.getElementById('busy'), {childList: true})"
    )
    page.click("form[data-busy] button")
    page.wait_for_selector("text=What the check found", timeout=120_000)
    assert page.evaluate("sessionStorage.getItem('busy')") == "Checking. This takes about ten seconds."
    assert page.evaluate("document.activeElement.id") == "result"
