"""trm-agent: joins the model (`trm`) and the tools (`tools`) into a repair of a red pytest suite."""

__version__ = "0.1.0"
