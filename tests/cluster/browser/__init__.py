"""The page of `rondo web` in a real browser.

chromium.py      a headless Chromium, driven by its own debugging protocol
scene.py         three nodes, each with web{}, applications on them, and a browser on the host of node 1
screenshots.py   the pictures of docs/images (make screenshots)
axe/             axe-core, which finds what keeps people from using a page
"""
