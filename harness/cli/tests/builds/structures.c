/* CPython's real structures in a process without an interpreter: what a walker reads is there, but nothing runs. The
 * headers decide the layout, with Py_GIL_DISABLED that of a free-threaded build. */
#define Py_BUILD_CORE 1
#include "Python.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal/pycore_code.h"
#include "internal/pycore_debug_offsets.h"
#include "internal/pycore_gc.h"
#include "internal/pycore_genobject.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_interpframe_structs.h"
#include "internal/pycore_llist.h"
#include "internal/pycore_runtime.h"
#include "internal/pycore_tstate.h"

static _PyRuntimeState runtime __attribute__((section(".PyRuntime"), used)) = {
    .debug_offsets = _Py_DebugOffsets_INIT("xdebugpy"),
};

enum { UNITS = 8, CHUNK = 16384 };

static PyObject *
text(const char *characters)
{
    PyASCIIObject *object = calloc(1, sizeof *object + strlen(characters) + 1);
    object->length = (Py_ssize_t)strlen(characters);
    object->state.kind = 1;
    object->state.compact = 1;
    object->state.ascii = 1;
    strcpy((char *)(object + 1), characters);
    return (PyObject *)object;
}

static PyCodeObject *
code(const char *name, int line)
{
    PyCodeObject *object = calloc(1, sizeof *object + UNITS * sizeof(_Py_CODEUNIT));
    ((PyVarObject *)object)->ob_size = UNITS;
    object->co_filename = text("structures.py");
    object->co_qualname = object->co_name = text(name);
    object->co_firstlineno = line;
    /* One entry: no column, the first line, eight units. */
    static const unsigned char table[] = { 0x80 | (13 << 3) | 7, 0 };
    PyBytesObject *bytes = calloc(1, sizeof *bytes + sizeof table);
    bytes->ob_base.ob_size = sizeof table;
    memcpy(bytes->ob_sval, table, sizeof table);
    object->co_linetable = (PyObject *)bytes;
#ifdef Py_GIL_DISABLED
    _PyCodeArray *copies = calloc(1, sizeof *copies + sizeof(char *));
    copies->size = 2;
    copies->entries[0] = (char *)object->co_code_adaptive;
    copies->entries[1] = calloc(UNITS, sizeof(_Py_CODEUNIT));
    object->co_tlbc = copies;
#endif
    return object;
}

int
main(void)
{
    PyInterpreterState *interpreter = calloc(1, sizeof *interpreter);
    PyThreadState *thread = &((_PyThreadStateImpl *)calloc(1, sizeof(_PyThreadStateImpl)))->base;
    runtime.interpreters.head = interpreter;
    interpreter->threads.head = interpreter->threads.main = thread;
    thread->interp = interpreter;
    thread->native_thread_id = (unsigned long)syscall(SYS_gettid);
    _PyStackChunk *chunk = calloc(1, CHUNK);
    chunk->size = CHUNK;
    thread->datastack_chunk = chunk;
    _PyInterpreterFrame *frame = calloc(1, sizeof *frame);
    frame->owner = FRAME_OWNED_BY_INTERPRETER;
    thread->base_frame = frame;
    const char *names[] = { "<module>", "main", "inner" };
    for (int i = 0; i < 3; i++) {
        PyCodeObject *object = code(names[i], 10 * (i + 1));
        _PyInterpreterFrame *callee = (_PyInterpreterFrame *)((char *)chunk->data + i * 256);
        callee->f_executable.bits = (uintptr_t)object | 1;
        callee->previous = frame;
        callee->owner = FRAME_OWNED_BY_THREAD;
        callee->instr_ptr = (_Py_CODEUNIT *)object->co_code_adaptive + 2;
#ifdef Py_GIL_DISABLED
        callee->tlbc_index = i % 2;
        callee->instr_ptr = (_Py_CODEUNIT *)object->co_tlbc->entries[i % 2] + 2;
#endif
        frame = callee;
    }
    thread->current_frame = frame;
    puts("ready");
    fflush(stdout);
    /* Until the test closes the pipe. */
    getchar();
    return 0;
}
