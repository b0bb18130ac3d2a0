"""A generator yields while a tool monitors it."""
def values():
    yield 1
    yield 2


TOOL = sys.monitoring.PROFILER_ID
sys.monitoring.use_tool_id(TOOL, "operations")
sys.monitoring.register_callback(TOOL, sys.monitoring.events.PY_YIELD, slice)
sys.monitoring.set_local_events(TOOL, values.__code__, sys.monitoring.events.PY_YIELD)


def main():
    before, after = gates()
    for out, into in ROUNDS:
        made = values()
        write(out, before); read(into, 1)
        for _ in made: break
        write(out, after); read(into, 1)


main()
sys.monitoring.free_tool_id(TOOL)
