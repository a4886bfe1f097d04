# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The `datasets` format `"time_series"`: series as numpy arrays that are views on Arrow memory.

`datasets` has no public way to add a format that works on Arrow tables: `set_transform` gets Python lists, for which
each value is converted on its own. So this module registers its formatter as `datasets` registers its own ones, by
`_register_formatter`, the only private name of `datasets` that this package uses. If it goes or changes,
`tests/data/test_data_formatting.py` fails.
"""

from itertools import pairwise

import numpy as np
import pyarrow as pa
from datasets.formatting import Formatter, _register_formatter


TIME_SERIES_FORMAT = "time_series"


class TimeSeriesFormatter(Formatter):
    """Gives `past_values` as float32 numpy arrays `(time, channels)`, views on Arrow buffers, and any other column as
    Python values.

    A batch costs one gather instead of one conversion per value, which `Trainer` and `DataLoader` profit from without
    knowing. Every data set that `load_time_series` returns is in this format. Take it off (`with_format(None)`) before
    a `save_to_disk` that is to be read where this module is not imported.
    """

    def format_row(self, pa_table: pa.Table) -> dict:
        """Returns the first row of the table as a dict from columns to values."""
        return {name: values[0] for name, values in self.format_batch(pa_table).items()}

    def format_column(self, pa_table: pa.Table) -> list:
        """Returns the values of the only column of the table."""
        name, column = pa_table.column_names[0], pa_table.column(0)
        if name != "past_values":
            return column.to_pylist()
        return [series for chunk in column.chunks for series in series_views(chunk)]

    def format_batch(self, pa_table: pa.Table) -> dict[str, list]:
        """Returns a dict from columns to the values of all rows."""
        return {
            name: series_views(column.combine_chunks()) if name == "past_values" else column.to_pylist()
            for name, column in zip(pa_table.column_names, pa_table.columns, strict=True)
        }


def series_views(array: pa.ListArray) -> list[np.ndarray]:
    """Returns the series of a column, each float32 of shape `(time, channels)`, without a copy of their values."""
    steps = array.values
    values = steps.values.to_numpy().reshape(-1, array.type.value_type.list_size)[steps.offset :]
    return [values[start:end] for start, end in pairwise(array.offsets.to_numpy().tolist())]


_register_formatter(TimeSeriesFormatter, TIME_SERIES_FORMAT)
