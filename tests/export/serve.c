/* Answers requests with a SavedModel through TensorFlow's C API, as TF Serving does.
 *
 * serve MODEL INPUT OUTPUT REQUEST [-- REQUEST ...]
 *
 * INPUT and OUTPUT are operations and their output, such as StatefulPartitionedCall:0, of a signature. A request is a list of
 * files, sent as strings (B,), or `raw B H W C FILE`, sent as (B, H, W, C) of the type that INPUT has, uint8 or uint16.
 * For each request one line is written: `ok` and the floats, or `error`, TensorFlow's code and its message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static TF_Output find(TF_Graph* graph, const char* name) {
  char operation[512];
  const char* colon = strrchr(name, ':');
  snprintf(operation, sizeof operation, "%.*s", (int)(colon - name), name);
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  if (output.oper == NULL) {
    fprintf(stderr, "no operation %s\n", operation);
    exit(1);
  }
  return output;
}

static char* contents(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  fseek(file, 0, SEEK_END);
  *size = ftell(file);
  rewind(file);
  char* bytes = malloc(*size + 1);
  if (fread(bytes, 1, *size, file) != *size) exit(1);
  fclose(file);
  return bytes;
}

static TF_Tensor* request(char** words, int count, TF_DataType type) {
  size_t size;
  if (strcmp(words[0], "raw") == 0) {
    int64_t shape[4];
    for (int i = 0; i < 4; ++i) shape[i] = atoll(words[1 + i]);
    char* bytes = contents(words[5], &size);
    TF_Tensor* tensor = TF_AllocateTensor(type, shape, 4, size);
    memcpy(TF_TensorData(tensor), bytes, size);
    free(bytes);
    return tensor;
  }
  int64_t shape[1] = {count};
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, shape, 1, count * sizeof(TF_TString));
  TF_TString* strings = TF_TensorData(tensor);
  for (int i = 0; i < count; ++i) {
    char* bytes = contents(words[i], &size);
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], bytes, size);
    free(bytes);
  }
  return tensor;
}

int main(int argc, char** argv) {
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s\n", TF_Message(status));
    return 1;
  }
  TF_Output input = find(graph, argv[2]), output = find(graph, argv[3]);
  for (int first = 4; first < argc;) {
    int end = first;
    while (end < argc && strcmp(argv[end], "--") != 0) ++end;
    TF_Tensor* given = request(argv + first, end - first, TF_OperationOutputType(input));
    TF_Tensor* result = NULL;
    TF_SessionRun(session, NULL, &input, &given, 1, &output, &result, 1, NULL, 0, NULL, status);
    if (TF_GetCode(status) == TF_OK) {
      const float* values = TF_TensorData(result);
      printf("ok");
      for (size_t i = 0; i < TF_TensorByteSize(result) / sizeof(float); ++i) printf(" %.9g", values[i]);
      printf("\n");
      TF_DeleteTensor(result);
    } else {
      printf("error %d ", TF_GetCode(status));
      for (const char* c = TF_Message(status); *c; ++c) putchar(*c == '\n' ? ' ' : *c);
      printf("\n");
    }
    TF_DeleteTensor(given);
    first = end + 1;
  }
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
