/* Reads the head of a plain request: what `heads.py` and `http1.py` make of it, in one pass over its bytes.

   The Python is the reference. This reads only heads about which nothing can be argued, and leaves all others to it: what
   is malformed, so that errors are told in one place; and what is rare. So a mistake here can make a request slow, or
   accept it differently; the tests compare both on every head that they have, and on made ones
   (tests/http/test_plain_heads.py).

   A head is plain if all of this is true:
   - Its request line is a method of METHODS, one blank, a path of visible ASCII without "#", one blank, and HTTP/1.0 or
     HTTP/1.1.
   - Every line ends in CRLF. A header is a token, a colon, and a value that is not empty, without control characters but
     tabs.
   - Host, Connection and Content-Length are there at most once. The last is a number of at most LENGTH_DIGITS digits.
   - There is none of the headers of SPECIAL, which change what follows. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define LENGTH_DIGITS 18 /* always a 64-bit number */

/* Names of headers, as they were sent -> lower-cased. Clients choose them, so the table is bounded: a name whose place is
   taken by another one is lower-cased each time. Long names would let one client fill the memory of the table. */
#define PLACES 1024
#define LONGEST_NAME 64

typedef struct {
    PyObject *sent;
    PyObject *lowered;
    int field; /* index into `fields`, or -1 */
} Name;

static Name names[PLACES];

static const char *const METHODS[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
enum { METHOD_COUNT = sizeof METHODS / sizeof *METHODS };
static PyObject *methods[METHOD_COUNT];

/* Headers that `http1.py` wants by name. Those from SPECIAL on make a head not plain. */
static const char *const FIELDS[] = {"host", "connection", "content-length", "expect", "transfer-encoding", "upgrade"};
enum { CONTENT_LENGTH = 2, SPECIAL = 3, FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS };
static PyObject *fields[FIELD_COUNT];

static PyObject *version_1_0, *version_1_1;

/* What a byte may be a part of. */
enum { TOKEN = 1, TARGET = 2, VALUE = 4 };
static uint8_t kinds[256];
static uint8_t lower[256];

static void
fill_tables(void)
{
    for (int byte = 0; byte < 256; byte++) {
        int letter = (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
        int visible = byte > ' ' && byte < 127;
        lower[byte] = (uint8_t)(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);
        kinds[byte] = 0;
        if (letter || (byte >= '0' && byte <= '9') || (byte && strchr("!#$%&'*+-.^_`|~", byte)))
            kinds[byte] |= TOKEN;
        if (visible && byte != '#')
            kinds[byte] |= TARGET;
        if (visible || byte == ' ' || byte == '\t' || byte >= 128)
            kinds[byte] |= VALUE;
    }
}

static int
field_of(const char *lowered, Py_ssize_t size)
{
    for (int field = 0; field < FIELD_COUNT; field++)
        if ((size_t)size == strlen(FIELDS[field]) && !memcmp(lowered, FIELDS[field], (size_t)size))
            return field;
    return -1;
}

/* A new reference to the lower-cased name, and its field. `hash` is of the name as sent. */
static PyObject *
lowered_name(const uint8_t *sent, Py_ssize_t size, uint32_t hash, int *field)
{
    Name *place = &names[hash % PLACES];
    if (place->sent && PyBytes_GET_SIZE(place->sent) == size && !memcmp(PyBytes_AS_STRING(place->sent), sent, (size_t)size)) {
        *field = place->field;
        return Py_NewRef(place->lowered);
    }
    PyObject *lowered = PyBytes_FromStringAndSize(NULL, size);
    if (!lowered)
        return NULL;
    char *text = PyBytes_AS_STRING(lowered);
    for (Py_ssize_t i = 0; i < size; i++)
        text[i] = (char)lower[sent[i]];
    *field = field_of(text, size);
    if (*field >= 0) {
        Py_DECREF(lowered);
        lowered = Py_NewRef(fields[*field]);
    }
    if (!place->sent && size <= LONGEST_NAME) {
        PyObject *key = PyBytes_FromStringAndSize((const char *)sent, size);
        if (!key) {
            Py_DECREF(lowered);
            return NULL;
        }
        *place = (Name){key, Py_NewRef(lowered), *field};
    }
    return lowered;
}

/* The method of a request line that begins here, and how long it is; NULL if it is none of METHODS. */
static PyObject *
read_method(const uint8_t *at, const uint8_t *end, Py_ssize_t *size)
{
    for (int i = 0; i < METHOD_COUNT; i++) {
        size_t length = strlen(METHODS[i]);
        if ((size_t)(end - at) > length && at[length] == ' ' && !memcmp(at, METHODS[i], length)) {
            *size = (Py_ssize_t)length;
            return methods[i];
        }
    }
    return NULL;
}

/* Is this a number that `http1.py` need not look at more closely? */
static int
is_length(const uint8_t *value, Py_ssize_t size)
{
    if (size > LENGTH_DIGITS)
        return 0;
    for (Py_ssize_t i = 0; i < size; i++)
        if (value[i] < '0' || value[i] > '9')
            return 0;
    return 1;
}

/* Read one header, and move `*position` behind its line. 1: done, 0: the head is not plain, -1: an error is set. */
static int
read_header(const uint8_t **position, const uint8_t *end, PyObject *headers, PyObject *found)
{
    const uint8_t *at = *position;
    uint32_t hash = 2166136261u; /* FNV-1a */
    const uint8_t *name = at;
    while (at < end && kinds[*at] & TOKEN)
        hash = (hash ^ *at++) * 16777619u;
    Py_ssize_t size = at - name;
    if (!size || at == end || *at++ != ':')
        return 0;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    const uint8_t *value = at;
    while (at < end && kinds[*at] & VALUE)
        at++;
    const uint8_t *last = at;
    if (end - at < 2 || at[0] != '\r' || at[1] != '\n')
        return 0;
    *position = at + 2;
    while (last > value && (last[-1] == ' ' || last[-1] == '\t'))
        last--;
    if (last == value)
        return 0;

    int field;
    PyObject *lowered = lowered_name(name, size, hash, &field);
    if (!lowered)
        return -1;
    if (field >= SPECIAL || (field == CONTENT_LENGTH && !is_length(value, last - value))) {
        Py_DECREF(lowered);
        return 0;
    }
    int done = -1;
    PyObject *text = PyBytes_FromStringAndSize((const char *)value, last - value);
    PyObject *pair = text ? PyTuple_Pack(2, lowered, text) : NULL;
    if (pair && !PyList_Append(headers, pair)) {
        done = 1;
        if (field >= 0) {
            Py_ssize_t before = PyDict_GET_SIZE(found);
            if (PyDict_SetItem(found, lowered, text))
                done = -1;
            else
                done = PyDict_GET_SIZE(found) > before; /* not plain: it is repeated */
        }
    }
    Py_XDECREF(pair);
    Py_XDECREF(text);
    Py_DECREF(lowered);
    return done;
}

/* As `read_header`, for all of them and the empty line. */
static int
read_headers(const uint8_t **position, const uint8_t *end, Py_ssize_t most, PyObject *headers, PyObject *found)
{
    while (*position < end && **position != '\r') {
        int done = read_header(position, end, headers, found);
        if (done <= 0)
            return done;
    }
    if (end - *position < 2 || (*position)[1] != '\n')
        return 0;
    *position += 2;
    return PyList_GET_SIZE(headers) <= most;
}

static PyObject *
read_plain(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 4 || !PyBytes_CheckExact(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "read_plain takes bytes and three numbers");
        return NULL;
    }
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(arguments[0]);
    Py_ssize_t length = PyBytes_GET_SIZE(arguments[0]);
    Py_ssize_t start = PyLong_AsSsize_t(arguments[1]);
    Py_ssize_t longest = PyLong_AsSsize_t(arguments[2]);
    Py_ssize_t most = PyLong_AsSsize_t(arguments[3]);
    if (PyErr_Occurred())
        return NULL;
    if (start < 0 || start > length || longest < 0) {
        PyErr_SetString(PyExc_ValueError, "read_plain cannot read there");
        return NULL;
    }
    const uint8_t *at = data + start;
    const uint8_t *end = at + (length - start < longest ? length - start : longest);

    Py_ssize_t size;
    PyObject *method = read_method(at, end, &size);
    if (!method)
        Py_RETURN_NONE;
    at += size + 1;
    const uint8_t *path = at;
    while (at < end && kinds[*at] & TARGET)
        at++;
    size = at - path;
    if (!size || *path != '/' || end - at < 11 || memcmp(at, " HTTP/1.", 8) || (at[8] != '0' && at[8] != '1') ||
        at[9] != '\r' || at[10] != '\n')
        Py_RETURN_NONE;
    PyObject *version = at[8] == '1' ? version_1_1 : version_1_0;

    PyObject *result = NULL;
    PyObject *target = PyBytes_FromStringAndSize((const char *)path, size);
    PyObject *headers = PyList_New(0);
    PyObject *found = PyDict_New();
    if (target && headers && found) {
        at += 11;
        int done = read_headers(&at, end, most, headers, found);
        if (!done)
            result = Py_NewRef(Py_None);
        else if (done > 0) {
            PyObject *after = PyLong_FromSsize_t(at - data);
            if (after)
                result = PyTuple_Pack(6, after, method, target, version, headers, found);
            Py_XDECREF(after);
        }
    }
    Py_XDECREF(target);
    Py_XDECREF(headers);
    Py_XDECREF(found);
    return result;
}

static PyMethodDef functions[] = {
    {"read_plain", (PyCFunction)(void (*)(void))read_plain, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "plain_heads", .m_size = -1, .m_methods = functions,
};

PyMODINIT_FUNC
PyInit_plain_heads(void)
{
    fill_tables();
    for (int i = 0; i < METHOD_COUNT; i++)
        if (!(methods[i] = PyUnicode_InternFromString(METHODS[i])))
            return NULL;
    for (int i = 0; i < FIELD_COUNT; i++)
        if (!(fields[i] = PyBytes_FromString(FIELDS[i])))
            return NULL;
    version_1_0 = PyUnicode_InternFromString("1.0");
    version_1_1 = PyUnicode_InternFromString("1.1");
    return version_1_0 && version_1_1 ? PyModule_Create(&definition) : NULL;
}
