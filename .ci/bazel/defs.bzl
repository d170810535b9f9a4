"""Stand-ins for the rules of @rules_python, which build and run offline with the host's python3."""

def _runfiles(ctx):
    own = ctx.files.srcs + ctx.files.data
    below = [dep[DefaultInfo].default_runfiles.files for dep in ctx.attr.deps]
    return ctx.runfiles(files = own, transitive_files = depset(transitive = below))

def _library(ctx):
    return [DefaultInfo(files = depset(ctx.files.srcs), runfiles = _runfiles(ctx))]

def _program(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(out, "\n".join([
        "#!/bin/bash",
        "root=${RUNFILES_DIR:-$0.runfiles}/" + ctx.workspace_name,
        "cd \"$root\" || exit 1",
        "PYTHONPATH=$root PYTHONSAFEPATH=1 exec ${BAZEL_CHECK_PYTHON:-python3} \"$root/" + ctx.file.main.short_path + "\" " +
        " ".join(ctx.attr.arguments) + " \"$@\"",
        "",
    ]), is_executable = True)
    return [DefaultInfo(executable = out, runfiles = _runfiles(ctx))]

_LIBRARY = {
    "data": attr.label_list(allow_files = True),
    "deps": attr.label_list(),
    "imports": attr.string_list(),
    "srcs": attr.label_list(allow_files = [".py"]),
}
_PROGRAM = dict(_LIBRARY, arguments = attr.string_list(), main = attr.label(allow_single_file = True, mandatory = True))

py_library = rule(implementation = _library, attrs = _LIBRARY)
_py_binary = rule(implementation = _program, attrs = _PROGRAM, executable = True)
_py_test = rule(implementation = _program, attrs = _PROGRAM, test = True)

def py_binary(args = [], **kwargs):
    _py_binary(arguments = args, **kwargs)

def py_test(args = [], **kwargs):
    _py_test(arguments = args, **kwargs)
