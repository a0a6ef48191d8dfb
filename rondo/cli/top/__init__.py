"""What `rondo top` shows: what the page has of this node, in a terminal.

rates.py     what has changed between two looks, a second
sections.py  the lists, in the order that was chosen
frame.py     all of it, cut to the size of the terminal
screen.py    the terminal: its size, its keys, and that it is left as it was
"""
