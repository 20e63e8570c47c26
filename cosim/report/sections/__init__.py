"""The parts of the page, one file each: from a `cosim.report.record.Record` to a `cosim.report.markup.Section`."""
