"""From explained films to tables, arrays and figures."""
