"""Paths of the package and of the files that come with it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ASSETS = PACKAGE / "assets"
COURSE, REPORT, WEB = ASSETS / "course", ASSETS / "report", ASSETS / "web"
TICKETS, REQUESTS = ASSETS / "data" / "tickets", ASSETS / "data" / "requests"
MATCHES = ASSETS / "data" / "matches"
REVIEWS = ASSETS / "data" / "reviews"
TOPICS = ASSETS / "data" / "topics"
ENTITIES = ASSETS / "data" / "entities"
MODELS, CONFIGS = ASSETS / "models", ASSETS / "configs"
