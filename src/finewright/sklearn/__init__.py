"""scikit-learn estimators over `finewright.train`: they work in `Pipeline`, `cross_val_score` and `GridSearchCV`."""

from finewright.sklearn.multi_label import MultiLabelTextClassifier
from finewright.sklearn.text_classifier import TextClassifier
from finewright.sklearn.text_regressor import TextRegressor
from finewright.sklearn.token_classifier import TokenClassifier

__all__ = ["MultiLabelTextClassifier", "TextClassifier", "TextRegressor", "TokenClassifier"]
