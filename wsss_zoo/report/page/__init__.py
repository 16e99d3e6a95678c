"""The HTML page of ``wsss-zoo compare``: templates, charts, pictures."""

from wsss_zoo.report.page.render import page as page
