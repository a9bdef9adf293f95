"""The page: Gradio over the very functions that the command line and the notebooks call.

`page.py` puts the tabs together, one file each; `desk.py` is what they share, `form.py` makes forms
of a recipe's settings, `words.py` holds every word that is shown, `server.py` lets it out to the
network. No training, maths or file logic lives here.
"""
