"""The commands, by what they do: tune (optimize and what leads to it), measure, foresee (no server), look (at results)."""
