"""Several processes that train one model: who they are, and how the model is shared among them."""
