"""What builds and checks the book: the site, the notebooks, the reader's machine."""
