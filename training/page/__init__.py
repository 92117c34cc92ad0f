"""Show a model in the browser: translate, look into the translation, and publish the same page as a Space."""
