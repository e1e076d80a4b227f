"""The gate for CI: has a configuration lost more than a bound, compared with an earlier run?"""
