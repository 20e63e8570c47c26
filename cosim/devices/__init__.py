"""Device kinds that come with Gridloop: one file a kind, each a group of all devices of that kind in a run."""
