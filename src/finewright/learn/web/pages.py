"""The course as HTML pages. Whatever comes from outside is escaped; there is no script and no style inside a page."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from finewright.learn.course import Lesson, Option
from finewright.learn.grading.grader import GradeResult
from finewright.learn.quiz import AnsweredQuestion, QuizRound
from finewright.learn.run_history import Table
from finewright.learn.workspace import YOURS_MARK, Hint, OwnResults, Workspace

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_PICTURE_ALONE = re.compile(r"<p>(<img [^>]*>)</p>")
_REGION = 'tabindex="0" role="region" aria-label'
"""What is wider than a phone scrolls inside its own frame, by keyboard too."""
_PLACES = (("/", "Lessons"), ("/quiz", "Quiz"), ("/progress", "Progress"))
STATES = {"passed": "✓ passed", "not yet": "not yet", "started": "started", "new": "new", "to read": "to read"}


def page(title: str, body: str, *, place: str = "", notes: Sequence[str] = ()) -> str:
    """A whole page. `place`: which entry of the navigation it belongs to; `notes`: what must be said first."""
    links = []
    for path, name in _PLACES:
        current = ' aria-current="page"' if path == place else ""
        links.append(f'<a href="{path}"{current}>{name}</a>')
    said = "".join(f'<p class="says" role="alert">{escape(note)}</p>' for note in notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - Finewright</title>
<link rel="stylesheet" href="/static/learn.css">
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<script src="/static/learn.js" defer></script>
</head>
<body>
<a class="skip" href="#main">To the text</a>
<header><nav aria-label="Course"><strong>Finewright</strong>{"".join(links)}</nav></header>
<main id="main" tabindex="-1">{said}{body}</main>
</body>
</html>
"""


def plain(title: str, sentence: str) -> str:
    """A page for those who have not come in: without navigation, style and script."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title></head><body><main><h1>{escape(title)}</h1><p>{escape(sentence)}</p></main></body></html>"
    )


def enter() -> str:
    """The step from the printed address into the course: a link of our own, so that the browser sends the cookie."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'
        '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
        '<title>Finewright</title></head><body><main><h1>Finewright</h1><p><a href="/">To the course</a></p></main></body></html>'
    )


def overview(workspace: Workspace, lines: Sequence[dict[str, Any]]) -> str:
    """All lessons."""
    items = []
    for line in lines:
        state = line["state"]
        items.append(
            f'<li><div class="top"><h2><a href="/lessons/{line["name"]}">{line["number"]}. {escape(line["title"])}</a></h2>'
            f'<span class="state{" passed" if state == "passed" else ""}">{STATES[state]}</span></div>'
            f'<p>{escape(line["summary"])} <span class="soft">{line["minutes"]}&nbsp;minutes</span></p></li>'
        )
    course = "" if workspace.course.embedded else f'<p class="soft">The course {escape(workspace.course.name)}.</p>'
    return f'<h1>Fine-tuning, with your own hands</h1>{course}<ol class="lessons">{"".join(items)}</ol>'


def lesson(workspace: Workspace, one: Lesson, own: OwnResults, *, panel: str) -> str:
    """The text with the learner's own numbers in it, and the exercise's panel below."""
    before, mark, after = one.text.partition(YOURS_MARK)
    middle = _own(one, own) if mark else ""
    quiz = _form("/quiz/begin", "Questions on this lesson", fields={"lesson": str(one.number)}) if one.questions else ""
    return (
        f'<article><p class="soft">Lesson {one.number}, {one.about.minutes} minutes</p><h1>{escape(one.about.title)}</h1>'
        f"{markdown(before, one)}{middle}{markdown(after, one)}</article>{panel}"
        f'<div class="row">{quiz}</div>{_neighbours(workspace, one)}'
    )


def _neighbours(workspace: Workspace, one: Lesson) -> str:
    lessons = workspace.course.lessons
    place = lessons.index(one)
    links = [
        (lessons[place - 1], "Before") if place else None,
        (lessons[place + 1], "Next") if place + 1 < len(lessons) else None,
    ]
    words = [f'<a href="/lessons/{other.name}">{name}: {escape(other.about.title)}</a>' for other, name in filter(None, links)]
    return f'<nav class="row" aria-label="Other lessons">{" ".join(words)}</nav>'


def markdown(text: str, one: Lesson) -> str:
    """A lesson's Markdown as HTML; raw HTML in it is shown, not used; pictures only from the lesson's own folder."""
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        token.children = [_local_picture(child, one) for child in token.children] if token.children else token.children
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    html = html.replace("<pre>", '<pre tabindex="0">')
    html = _PICTURE_ALONE.sub(rf'<div class="scroll" {_REGION}="Picture">\1</div>', html)
    html = html.replace("<table>", f'<div class="scroll" {_REGION}="Table"><table>')
    return html.replace("</table>", "</table></div>")


def _local_picture(token: Token, one: Lesson) -> Token:
    if token.type != "image":
        return token
    name = str(token.attrs.get("src", ""))
    if name in one.pictures:
        token.attrs["src"] = f"/pictures/{one.name}/{name}"
        return token
    return Token("text", "", 0, content=token.content)


def _own(one: Lesson, own: OwnResults) -> str:
    parts = []
    if own.table:
        source = f"/figures/{one.name}"
        parts.append(
            f'<figure><div class="scroll" {_REGION}="Picture of your own runs"><picture>'
            f'<source srcset="{source}/dark.png" media="(prefers-color-scheme: dark)">'
            f'<img src="{source}/light.png" width="1200" height="675" alt="{escape(own.table.says)}"></picture></div>'
            f"<figcaption>Your own runs. {escape(own.table.says)}</figcaption></figure>{table(own.table, 'Your own runs')}"
        )
    if own.saved:
        parts.append(f"<h3>{escape(own.saved.says)}, by your own code</h3>{table(own.saved, own.saved.says)}")
    if own.commands:
        begin = "Also to see here:" if own.table else "Not on this machine yet. SuggestedCommand it in a terminal:"
        lines = "\n\n".join(f"# {make.note}\n{make.command}" if make.note else make.command for make in own.commands)
        parts.append(f'<p>{begin}</p><pre class="wrap"><code>{escape(lines)}</code></pre>')
    return "".join(parts)


def table(one: Table, name: str) -> str:
    """A table that can be scrolled by keyboard."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in one.headings)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in one.rows)
    return (
        f'<div class="scroll" {_REGION}="{escape(name)}"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def panel(workspace: Workspace, one: Lesson, *, state: str, grade: GradeResult | None, hint: Hint | None, solution: str) -> str:
    """Start, check, hint, solution, and what came of the last check."""
    if not one.has_exercise:
        return ""
    path = f"/lessons/{one.name}"
    file = workspace.file(one)
    if not file.exists():
        buttons, words = _form(f"{path}/start", "Start the exercise", main=True), f"It will be <code>{escape(str(file))}</code>."
    else:
        words = f"Write in <code>{escape(str(file))}</code> with your own editor, then check."
        buttons = _form(f"{path}/check", "Check", main=True, busy="Checking. This takes about ten seconds.")
        buttons += _form(f"{path}/hint", "A hint")
        give_up = {} if state == "passed" else {"give_up": "yes"}
        label = "Show the solution" if state == "passed" else "Give up and show the solution"
        buttons += _form(f"{path}/solution", label, fields=give_up)
    results = _verdict(workspace, one, grade) if grade else ""
    if hint:
        results += f"<p><strong>Hint {hint.number} of {hint.of}.</strong> {_inline(hint.text)}</p>"
    if solution:
        results += f'<h3>One way to write it</h3><pre tabindex="0"><code>{escape(solution)}</code></pre>'
    return (
        f'<section class="card" aria-labelledby="exercise"><h2 id="exercise">Your exercise: {STATES[state]}</h2><p>{words}</p>'
        f'<div class="row">{buttons}</div><p id="busy" role="status"></p><div id="result" tabindex="-1">{results}</div></section>'
    )


def _verdict(workspace: Workspace, one: Lesson, grade: GradeResult) -> str:
    items = []
    for claim in grade.claims:
        mark, kind, word = ("✓", "ok", "holds") if claim.ok else ("✗", "no", "does not hold")
        more = f"<dl><dt>expected</dt><dd>{_inline(claim.expected)}</dd><dt>found</dt><dd>{_inline(claim.found)}</dd></dl>"
        items.append(
            f'<li class="{kind}"><span class="mark" role="img" aria-label="{word}">{mark}</span>{_inline(claim.what)}'
            f"{'' if claim.ok else more}</li>"
        )
    says = workspace.says(one, grade.wrong)
    words = "Passed." if grade.passed else f"Not yet. {says}"
    notes = "".join(f"<p>{_inline(note)}</p>" for note in grade.notes)
    printed = f'<p>Your file printed:</p><pre tabindex="0">{escape(grade.output.strip())}</pre>' if grade.output.strip() else ""
    return (
        f'<h3>What the check found</h3><p class="says{" right" if grade.passed else ""}">{_inline(words)}</p>'
        f'<ul class="claims">{"".join(items)}</ul>{notes}{printed}'
    )


def _inline(text: str) -> str:
    """Text with `code` in it."""
    return "".join(f"<code>{escape(part)}</code>" if place % 2 else escape(part) for place, part in enumerate(text.split("`")))


def _form(action: str, label: str, *, main: bool = False, busy: str = "", fields: Mapping[str, str] | None = None) -> str:
    pairs = (fields or {}).items()
    hidden = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in pairs)
    data = f' data-busy="{escape(busy)}"' if busy else ""
    kind = ' class="main"' if main else ""
    return f'<form method="post" action="{action}"{data}>{hidden}<button{kind}>{escape(label)}</button></form>'


def quiz_start(*, num_questions: int, num_own: int) -> str:
    """Before a round."""
    own = f", {num_own} of them made from your own runs" if num_own else ""
    if not num_own:
        own = "; train something, and there will be some about your runs"
    return (
        f"<h1>Knowledge check</h1><p>{num_questions} questions{own}. What you miss comes again, in days that grow.</p>"
        f'<div class="row">{_form("/quiz/begin", "Begin", main=True, fields={"lesson": "all"})}</div>'
    )


def quiz_question(quiz_round: QuizRound) -> str:
    """The question that waits."""
    question = quiz_round.current
    assert question is not None
    options = "".join(_choice(place, option) for place, option in enumerate(quiz_round.options()))
    where = "Once more" if quiz_round.again else f"Question {quiz_round.number} of {quiz_round.num_first}"
    return (
        f'<h1>Knowledge check</h1><p class="soft">{where}</p><form method="post" action="/quiz/answer">'
        f'<input type="hidden" name="number" value="{quiz_round.number}">'
        f"<fieldset><legend>{escape(question.question)}</legend>{options}"
        '</fieldset><div class="row"><button class="main">Answer</button></div></form>'
    )


def _choice(place: int, option: Option) -> str:
    button = f'<input type="radio" name="choice" value="{place}" required>'
    return f'<label class="option">{button} <span>{escape(option.text)}</span></label>'


def quiz_answer(quiz_round: QuizRound, one: AnsweredQuestion) -> str:
    """Right or not, and why, for every option."""
    items = "".join(_why(option, chosen=place == one.chosen) for place, option in enumerate(one.options))
    grade = '<p class="says right">Right.</p>' if one.ok else '<p class="says">No. The right one is marked below.</p>'
    right, asked = quiz_round.score
    more = _form("/quiz/next", "Next question" if quiz_round.current else "To the result", main=True)
    return (
        f'<h1>Knowledge check</h1><div id="result" tabindex="-1">{grade}<h2>{escape(one.question.question)}</h2></div>'
        f'<ul class="whys">{items}</ul><p class="soft">{right} of {asked} right so far.</p><div class="row">{more}</div>'
    )


def _why(option: Option, *, chosen: bool) -> str:
    kind = "right" if option.ok else "wrong"
    words = f"{'Right' if option.ok else 'Wrong'}{', your answer' if chosen else ''}: "
    return (
        f'<li class="{kind}{" chosen" if chosen else ""}"><p><strong>{words}</strong>{escape(option.text)}</p>'
        f'<p class="soft">{escape(option.why.removeprefix("Right. "))}</p></li>'
    )


def quiz_end(quiz_round: QuizRound) -> str:
    """The score."""
    right, asked = quiz_round.score
    return (
        f"<h1>Knowledge check</h1><p>{right} of {asked} right at the first try.</p>"
        f'<div class="row">{_form("/quiz/begin", "Another round", main=True, fields={"lesson": "all"})}</div>'
    )


def progress(lines: Sequence[dict[str, Any]], counts: dict[str, int]) -> str:
    """Lessons and questions in numbers."""
    rows = []
    for line in lines:
        held = f"{line['claims_held']} of {line['claims']}" if line["claims"] else ""
        rows.append([str(line["number"]), line["title"], STATES[line["state"]], str(line["attempts"] or ""), held])
    found = Table(["no.", "lesson", "exercise", "checks", "claims held"], rows, "")
    return (
        f"<h1>Progress</h1><p>{counts['exercises_passed']} of {counts['exercises']} exercises passed; "
        f"{counts['answers_right']} of {counts['answers']} answers right; {counts['questions_known']} questions known well, "
        f"{counts['questions_due']} due today.</p>{table(found, 'Lessons')}"
    )
