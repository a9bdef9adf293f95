"""Numbers in, plotly figures out: app, notebooks and report draw with the same functions."""
