/* Calls for a socket that do not wait. `recv` and `send` are what `socket.socket` has, without what is not needed here.

   They keep the GIL for what is small, as the call is shorter than giving the GIL away and getting it back: where threads
   run the application, another one would take it for 5 ms. What is received goes through a buffer of this thread, so
   that no large object is made for a small request.

   The object has the number of the descriptor, and does not keep the socket open: whoever closes the socket must not call
   these afterwards. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { SMALL = 16384 }; /* bytes */

typedef struct {
    PyObject_HEAD
    int fd;
} SocketCalls;

static int
takes_two(const char *what, Py_ssize_t count)
{
    if (count == 2)
        return 1;
    PyErr_Format(PyExc_TypeError, "%s takes two arguments, not %zd", what, count);
    return 0;
}

/* Repeats a call that a signal interrupts, unless the signal's handler raises. */
#define REPEAT(result, call)                                                                                               \
    do                                                                                                                     \
        result = call;                                                                                                     \
    while (result < 0 && errno == EINTR && !PyErr_CheckSignals())

static PyObject *
failure(void)
{
    return PyErr_Occurred() ? NULL : PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *
socket_calls_recv(SocketCalls *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (!takes_two("recv", count))
        return NULL;
    Py_ssize_t size = PyLong_AsSsize_t(arguments[0]);
    long flags = PyLong_AsLong(arguments[1]);
    if (PyErr_Occurred())
        return NULL;
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "recv cannot receive a negative number of bytes");
        return NULL;
    }
    ssize_t received;
    if (size <= SMALL) {
        char buffer[SMALL];
        REPEAT(received, recv(self->fd, buffer, (size_t)size, (int)flags));
        return received < 0 ? failure() : PyBytes_FromStringAndSize(buffer, received);
    }
    PyObject *data = PyBytes_FromStringAndSize(NULL, size);
    if (!data)
        return NULL;
    char *buffer = PyBytes_AS_STRING(data);
    int error;
    do {
        Py_BEGIN_ALLOW_THREADS
        received = recv(self->fd, buffer, (size_t)size, (int)flags);
        error = errno;
        Py_END_ALLOW_THREADS
        errno = error;
    } while (received < 0 && errno == EINTR && !PyErr_CheckSignals());
    if (received < 0) {
        Py_DECREF(data);
        return failure();
    }
    if (received < size)
        _PyBytes_Resize(&data, received); /* sets it to NULL if that fails */
    return data;
}

static PyObject *
socket_calls_send(SocketCalls *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (!takes_two("send", count))
        return NULL;
    long flags = PyLong_AsLong(arguments[1]);
    if (PyErr_Occurred())
        return NULL;
    Py_buffer view;
    if (PyObject_GetBuffer(arguments[0], &view, PyBUF_SIMPLE))
        return NULL;
    ssize_t sent;
    if (view.len <= SMALL)
        REPEAT(sent, send(self->fd, view.buf, (size_t)view.len, (int)flags));
    else {
        int error;
        do {
            Py_BEGIN_ALLOW_THREADS
            sent = send(self->fd, view.buf, (size_t)view.len, (int)flags);
            error = errno;
            Py_END_ALLOW_THREADS
            errno = error;
        } while (sent < 0 && errno == EINTR && !PyErr_CheckSignals());
    }
    PyObject *result = sent < 0 ? failure() : PyLong_FromSsize_t(sent);
    PyBuffer_Release(&view);
    return result;
}

static int
socket_calls_init(SocketCalls *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"fd", NULL};
    return PyArg_ParseTupleAndKeywords(arguments, keywords, "i", names, &self->fd) ? 0 : -1;
}

static PyMethodDef methods[] = {
    {"recv", (PyCFunction)(void (*)(void))socket_calls_recv, METH_FASTCALL, "recv(size, flags): see socket.socket."},
    {"send", (PyCFunction)(void (*)(void))socket_calls_send, METH_FASTCALL, "send(data, flags): see socket.socket."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "trio_uwsgi._http.socket_calls.SocketCalls",
    .tp_basicsize = sizeof(SocketCalls),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)socket_calls_init,
    .tp_methods = methods,
};

static PyObject *
count_unsent(PyObject *module, PyObject *fd)
{
    long number = PyLong_AsLong(fd);
    int bytes = 0;
    if (PyErr_Occurred())
        return NULL;
    return ioctl((int)number, TIOCOUTQ, &bytes) < 0 ? failure() : PyLong_FromLong(bytes);
}

static PyMethodDef functions[] = {
    {"count_unsent", count_unsent, METH_O, "Bytes that the other side has not acknowledged."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "socket_calls", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC
PyInit_socket_calls(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddType(module, &type)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
