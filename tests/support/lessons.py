"""Files of a lesson that only its tests use."""


def wrong_answers(lesson):
    """Return files `wrong_<name>.py` by name: mistakes that the check must recognise."""
    return {path.stem.removeprefix("wrong_"): path for path in sorted(lesson.folder.glob("wrong_*.py"))}
