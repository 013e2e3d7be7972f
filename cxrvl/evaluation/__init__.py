"""How good is a model? Predictions are the result; every metric is a view of them."""
