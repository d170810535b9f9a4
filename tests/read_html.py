"""HTML as a browser sees it."""

from html.parser import HTMLParser


class Read(HTMLParser):
    """What a browser would see: tags with their attributes, and texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)
