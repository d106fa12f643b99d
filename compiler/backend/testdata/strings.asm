   0: r6 = r1
   1: r1 = r10
   2: r1 += -16
   3: r2 = 16
   4: call FnGetCurrentComm
   5: r0 = *(u64 *)(r10 -16)
   6: r5 = *(u64 *)(r10 -8)
   7: if r0 != 1684566899 goto 20
   8: if r5 != 0 goto 20
   9: r6 = *(u64 *)(r6 +8)
  10: *(u64 *)(r10 -16) = 0
  11: r1 = map @
  13: r2 = r10
  14: r2 += -16
  15: call FnMapLookupElem
  16: if r0 == 0 goto 20
  17: r5 = *(u64 *)(r0 +0)
  18: if r5 s>= r6 goto 20
  19: *(u64 *)(r0 +0) = r6
  20: r0 = 0
  21: exit
