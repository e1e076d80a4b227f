"""From records to figures that may be believed: Parquet schemas, aggregation, statistics, audit."""
