"""Files and processes behind the app: what a page starts here outlives it.

No page holds any of it: everything is on disk in one folder, and any other face may look on.
"""
