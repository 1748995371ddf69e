"""The page in a real browser: nothing is asked for, nothing complains, nothing is wider than a phone, all can read it.

CONTRIBUTING says what is needed for it.
"""

import pytest

from finewright.comparison.report import charts, document
from finewright.comparison.report import page as page_module
from support import chromium, made

pytestmark = pytest.mark.browser
SIZES = {"phone": (360, 780), "desktop": (1280, 900)}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    table = made.standing(made.usual(folder))
    findings = [{"message": made.HOSTILE, "rows": [made.HOSTILE], "fix": made.HOSTILE, "code": "x"}]
    results = made.results_file(table, folder, findings=findings, hostile=True, budget_bytes=10**9)
    (folder / "report.html").write_text(document.html(page_module.build_document(table, file=results)))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    with chromium.opened() as found:
        yield found


def open_page(browser, file, *, size="desktop", scheme="light", bypass_csp=False):
    """`bypass_csp`: the page's own policy is lifted, for a script that is not the page's."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=bypass_csp)
    page, heard = context.new_page(), []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.on("dialog", lambda dialog: heard.append("a dialog") or dialog.dismiss())
    page.goto(file.as_uri())
    return page, heard


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_quiet_fits_and_is_readable(browser, page_file, size, scheme):
    page, heard = open_page(browser, page_file, size=size, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg.chart text')].map(t => t.getBoundingClientRect().height).filter(h => h > 0)"
    )
    assert min(sizes) >= 9, "text of a chart, in pixels"
    ink, paper = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert ink != paper
    assert heard == []


def test_names_in_charts_stay_inside_them(browser, page_file):
    page, _ = open_page(browser, page_file)
    outside = page.evaluate(
        """[...document.querySelectorAll('svg.chart')].flatMap(svg => { const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(t => { const b = t.getBoundingClientRect();
        return b.left < box.left - 1 || b.right > box.right + 1 || b.bottom > box.bottom + 1; }).map(t => t.textContent) })"""
    )
    assert outside == []


def test_in_print_it_is_light_and_everything_is_unfolded(browser, page_file):
    page, heard = open_page(browser, page_file, scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    folded = "[...document.querySelectorAll('details table')].map(t => t.getBoundingClientRect().height)"
    assert min(page.evaluate(folded)) > 20
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert heard == []


def test_accessibility(browser, page_file):
    axe = chromium.axe_script()
    for scheme in ("light", "dark"):
        page, _ = open_page(browser, page_file, size="phone", scheme=scheme, bypass_csp=True)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        page.evaluate(axe + ";0")
        violations = page.evaluate("axe.run()")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []


def test_the_picture_alone(browser, page_file, tmp_path):
    from finewright.comparison.report import figures

    table = made.standing(made.usual())
    file = tmp_path / "accuracy.svg"
    file.write_text(charts.standalone(figures.by_share(table), title=made.HOSTILE))
    page, heard = open_page(browser, file)
    assert page.evaluate("document.documentElement.tagName") == "svg"
    assert page.evaluate("document.querySelectorAll('script').length") == 0
    assert heard == []
