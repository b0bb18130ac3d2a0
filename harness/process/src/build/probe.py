import json, os, sys
jit = getattr(sys, "_jit", None)
mapped = []
with open("/proc/self/maps", "rb") as maps:
    for line in maps:
        path = line.rstrip(b"\n").split(None, 5)[5:]
        if path and path[0].startswith(b"/") and path[0] not in mapped:
            mapped.append(path[0])
try:
    import sysconfig
    # All that `configure` and the compiler were told; an installation may have left it out.
    options = " ".join(str(sysconfig.get_config_var(name) or "") for name in ("CONFIG_ARGS", "PY_CFLAGS", "PY_LDFLAGS"))
except Exception:
    options = ""
try:
    # A build folder has its headers in the checkout, an installation has them in a folder of their own.
    headers = [os.path.join(sysconfig.get_config_var("srcdir") or "", "Include", "internal")]
    headers += [os.path.join(sysconfig.get_path(name) or "", "internal") for name in ("include", "platinclude")]
except Exception:
    headers = []
print(json.dumps({
    "implementation": sys.implementation.name,
    "hexversion": sys.hexversion,
    "executable": (sys.executable or "").encode("utf-8", "surrogateescape").decode("latin-1"),
    "debug": hasattr(sys, "gettotalrefcount"),
    "free_threaded": "t" in getattr(sys, "abiflags", ""),
    "jit_available": bool(jit and jit.is_available()),
    "development": sys.version.split()[0].endswith("+"),
    "headers": [path.encode("utf-8", "surrogateescape").decode("latin-1") for path in headers if os.path.isabs(path)],
    "options": options[:65536],
    "mapped": [path.decode("latin-1") for path in mapped],
}))
