// Two GPUs, of which the first counts 1.5 J more at each reading and the second cannot.
__attribute__((visibility("default"))) int nvmlInit_v2(void) { return 0; }
__attribute__((visibility("default"))) int nvmlShutdown(void) { return 0; }
__attribute__((visibility("default"))) int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return 0;
}
__attribute__((visibility("default"))) int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  static int devices[2];
  *device = &devices[index];
  devices[index] = (int)index;
  return 0;
}
__attribute__((visibility("default"))) int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* millijoules) {
  static unsigned long long now = 5000000;
  if (*(int*)device == 1) return 3;
  *millijoules = now += 1500;
  return 0;
}
